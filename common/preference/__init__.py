"""Learning from pairwise preferences on finite sets of responses, in numpy.

`tabular` holds the KL-regularised objective and its closed forms, `bradley_terry` the preference model:
labels, likelihoods and what a set of comparisons says about a difference of rewards, `optimism` the reward
that maximises likelihood plus a bonus. Nothing here knows torch. Functions broadcast over leading axes, and
a row's result does not depend on the rows beside it.
"""
