"""For all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long one example takes is the machine's affair: other work on it is no defect of ours.
settings.register_profile("sealmatrix", deadline=None)
settings.load_profile("sealmatrix")

# A shell starts programs in the background with SIGINT ignored; what a test starts and interrupts would be deaf to it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
