"""What notebooks show of the source."""

from common.study.excerpt import lines_of


def test_the_docstring_is_left_out_and_every_other_line_is_there():
    def half(number: float) -> float:
        """Two lines

        of text."""
        # why
        return number / 2

    assert lines_of(half).splitlines() == [
        "def half(number: float) -> float:",
        "    # why",
        "    return number / 2",
    ]
