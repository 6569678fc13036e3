"""Autoregressive softmax policies small enough to evaluate exactly, trained by sampled policy gradients.

`start` draws policies and correct sets, `policy` evaluates and samples them, `objective` is the clipped
surrogate, `optimizers` move the logits, `simulator` is the loop and `filtering` fills batches with mixed
groups (dynamic sampling, GRESO). Every array carries a seed axis; tables keep the vocabulary axis first, so
that sums over tokens are elementwise additions whose order does not depend on how many seeds share the array.
"""
