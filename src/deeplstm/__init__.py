"""Deep recurrent networks: write a cell as plain equations, put depth wherever you want it.

The public names stand in ``__init__.pyi``; each is imported when first used, so that ``deeplstm --help`` does not wait
for torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
