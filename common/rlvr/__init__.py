"""RLVR experiments: what papers that train a policy on verifiable rewards have in common.

`run` is the configuration of one training run, `tasks` the prompts and verifiers, `train` the run itself. A
paper adds its trainer, its arguments, and the names of what it logs.
"""
