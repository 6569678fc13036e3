"""Text games of real simulators: what one is told and what one does are sentences, the reward comes late.

`simulators` runs TextWorldExpress and ScienceWorld on a Java machine, as environments of gymnasium. `coin` is
the game that pocket policies play: its words, its worlds by split, demonstrations. `warm_start` teaches it.
"""
