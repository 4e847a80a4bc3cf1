"""HDyS: its data, training, evaluation and released files."""
