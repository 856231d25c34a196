"""``python -m multinic_cni``: the same as the command ``multinic-cni``."""

import sys

from multinic_cni.install import main

sys.exit(main())
