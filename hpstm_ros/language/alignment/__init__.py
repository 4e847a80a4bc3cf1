"""Text, motion and scene in one space, after MonSTeR (Collorone et al., ICCV 2025)."""
