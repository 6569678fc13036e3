"""Speculative decoding: a draft proposes a tree of tokens, one forward of the target checks all of it.

Batched from the start, rows of different lengths, any draft, any scheduler. `cache` holds the ragged key-
value buffers, `tree` the draft trees, `verify` the lossless acceptance rules, `drafts` and `networks` what
proposes, `generate` the loop, `packed` the scoring of many trees in one forward, `unroll` draft training,
`profile` the latency table, `costs` what follows from it, `rollouts` the seam to the group trainers.
"""
