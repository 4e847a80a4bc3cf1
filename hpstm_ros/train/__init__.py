"""Training, evaluation and export of HPSTM."""
