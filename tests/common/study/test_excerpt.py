"""What notebooks show of the source."""

from common.study.excerpt import lines_of


def test_docstring_and_notes_to_linters_are_left_out_and_every_other_line_is_there():
    def half(number: float, unused: int = 0) -> float:
        """Two lines

        of text."""
        # why
        return number / 2

    assert lines_of(half).splitlines() == [
        "def half(number: float, unused: int = 0) -> float:",
        "    # why",
        "    return number / 2",
    ]


def test_without_a_docstring_every_line_is_there():
    def half(number: float) -> float:
        result = number / 2
        return result  # noqa: RET504

    assert lines_of(half).splitlines() == [
        "def half(number: float) -> float:",
        "    result = number / 2",
        "    return result",
    ]
