"""Names of the sites in files of other vendors."""

SITE_NAMES: dict[str, tuple[str, ...]] = {
    "pelvis": ("pelvis", "waist", "hips"),
    "neck": ("neck", "head", "sternum", "spine3"),
    "left_wrist": ("left_wrist", "left_forearm", "left_elbow"),
    "right_wrist": ("right_wrist", "right_forearm", "right_elbow"),
    "left_shin": ("left_shin", "left_lower_leg", "left_knee"),
    "right_shin": ("right_shin", "right_lower_leg", "right_knee"),
    "left_upper_arm": ("left_upper_arm", "left_shoulder"),
    "right_upper_arm": ("right_upper_arm", "right_shoulder"),
    "left_thigh": ("left_thigh", "left_upper_leg", "left_hip"),
    "right_thigh": ("right_thigh", "right_upper_leg", "right_hip"),
    "head": ("head",),
}
"""Alternative names of a site in a recording, best first: a recording without a neck sensor may
have one on the head.
"""
