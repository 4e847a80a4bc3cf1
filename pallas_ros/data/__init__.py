"""Motion data: importers, splits, the cached library, virtual sensors and augmentation.

How to use it (HPSTM does so too)::

    from pallas_ros.data.library import MotionLibrary
    library = MotionLibrary.open(Path("../shared/data"))      # imports the packs once (ten seconds), then memory-maps the cache
    for clip in library.select("train"):                       # "train", "validation", "seen", "unseen"
        motion = library.motion(clip)                          # pallas_ros.body.motion.Motion, 60 Hz, height 1.75 m
    library.rotations[clip.start : clip.stop]                  # or the raw arrays: (T, 22, 4) int16, global xyzw * 32767
"""
