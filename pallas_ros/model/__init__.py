"""The PALLAS network (torch): trained here, exported to ONNX, never imported on the real-
time path.
"""
