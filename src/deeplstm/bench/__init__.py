"""Speed beside torch, plain loops, torch.compile, JAX and ONNX Runtime: `deeplstm bench`.

One part of the table a file (`grid`, `packed`, `first_call`, `busy`, `examples`, `streaming`, `product`), each of which gives
units of work (`work`). `run` measures them one by one and keeps each in the report at once; `summary` holds what was measured
against what was asked for, `tables` prints both.
"""
