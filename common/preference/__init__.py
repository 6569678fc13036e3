"""Learning from pairwise preferences.

On finite sets of responses, in numpy: `tabular` holds the KL-regularised objective and its closed forms,
`bradley_terry` the preference model: labels, likelihoods and what a set of comparisons says about a
difference of rewards, `optimism` and `two_good` the reward that maximises likelihood plus a bonus. Functions
broadcast over leading axes, and a row's result does not depend on the rows beside it.

Of sampled responses, without torch: `pairs` prefers by outcome and process, `selection` answers with one of
several, `critique` is the format of a verifier that judges steps in words, `rounds` runs sample → score →
pairs → train with every artefact on disk.

On language models, with TRL: `losses` are functions of tensors, `weighted` the trainers with a weight per
row, `dpo` the seam for terms beside DPO's loss, `online` the rounds of sampling, labelling and training.
Nothing else here knows torch.
"""
