"""The PALLAS network in torch, for training and export to ONNX; never imported on the real-time
path.
"""
