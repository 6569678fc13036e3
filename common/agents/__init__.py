"""Language models that act over many turns, in environments of gymnasium.

`episodes` says what an episode is: its rules, how tokens become actions, and the trajectory that it leaves.
`supervision` bounds what an environment can do to others, `lockstep` plays many episodes at once on one cache
of keys and values. `trainer` is the seam to the group trainers, `tools` the same environment as TRL's
``environment_factory`` takes it. `critic` holds values and generalised advantages, and `ppo` puts them in
front of a trainer; `regions` the parts of a text by its tags and entropies by part and turn, `gradients` the
signal-to-noise ratio of a gradient.
"""
