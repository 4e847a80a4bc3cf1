"""Training and evaluation (torch).

`loop.fit` is the training loop of both networks, PALLAS and HPSTM.
"""
