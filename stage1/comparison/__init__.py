"""A few configurations side by side, with repeated seeds: one half trains them, one reads.

`experiment`, `inputs`, `outcome`, `in_turn`, `side_by_side`, `run` train and write a run folder;
`record` says what was run; `tables`, `summary`, `figures`, `against`, `report`, `page` read it and
load neither torch nor ray.
"""
