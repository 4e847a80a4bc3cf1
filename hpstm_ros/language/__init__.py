"""Text: a frozen encoder, explicit features, descriptions of clips, alignment with motion."""
