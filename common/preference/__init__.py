"""Learning from pairwise preferences.

On finite sets of responses, in numpy: `tabular` holds the KL-regularised objective and its closed forms,
`bradley_terry` the preference model: labels, likelihoods and what a set of comparisons says about a
difference of rewards, `optimism` and `two_good` the reward that maximises likelihood plus a bonus. Functions
broadcast over leading axes, and a row's result does not depend on the rows beside it.

On language models, with TRL: `dpo` is the seam for terms beside DPO's loss, `online` the rounds of sampling,
labelling and training. Nothing else here knows torch.
"""
