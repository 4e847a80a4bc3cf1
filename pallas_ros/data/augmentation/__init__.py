"""Augmentation of motion from the packs, in torch, shared by the training of all networks.

========== ===============================================================
`windows`  windows of clips at any times and speeds
`bodies`   mirroring and rotation of the whole body
`limbs`    limbs from other windows, orientations along a chain
`paths`    timed paths between keys
`keyed`    limbs that move between key poses
`swings`   swinging and turning arms, shaking joints
`trunk`    bending trunks
========== ===============================================================

Each training combines these with its own probabilities (`pallas_ros.data.sequences`,
`hpstm_ros.train.variation`). Orientations are (B, T, J, 4), joint to world, xyzw, unless stated
otherwise. All random values come from a `torch.Generator`.
"""
