"""Motion data: importers, splits, the cached library, virtual sensors and augmentation.

How to use it (HPSTM does so too)::

    from pallas_ros.data.library import MotionLibrary
    # imports the packs once (ten seconds), then memory-maps the cache
    library = MotionLibrary.open(Path("../shared/data"))
    # "train", "validation", "seen", "unseen"
    for clip in library.select("train"):
        # pallas_ros.body.motion.Motion, 60 Hz, height 1.75 m
        motion = library.motion(clip)
    # or the raw arrays: (T, 22, 4) int16, global xyzw * 32767
    library.rotations[clip.start : clip.stop]
"""
