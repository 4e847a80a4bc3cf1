"""Motion that the packs do not hold, made from what they hold; in torch, for every training.

========== ===============================================================
`windows`  windows of clips at any times and speeds
`bodies`   the whole body mirrored and turned
`limbs`    limbs of other windows hung on, orientations along a chain
`paths`    ways from key to key, in time
`keyed`    limbs that move between key poses
`swings`   arms that swing and turn, joints that shake
`trunk`    a trunk that bends
========== ===============================================================

A training composes these with chances of its own (`pallas_ros.data.sequences`,
`hpstm_ros.train.variation`). Orientations are (B, T, J, 4), joint to world, xyzw, where nothing
else is said. What is drawn comes from a `torch.Generator` alone.
"""
