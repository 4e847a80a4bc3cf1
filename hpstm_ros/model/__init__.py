"""HPSTM as a torch module: training and export only."""
