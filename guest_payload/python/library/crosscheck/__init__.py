"""The contract's required rules on arguments, unmapping, replacing, moving, protecting and discarding, asked once more.

Written from the contract and from docs/reference/protocol.md (the words of a probe's id, the form of an observation),
so that the C payload and this one can find each other's mistakes: a probe both have must be observed alike on one
kernel.

    window.py      regions and layouts: making a window, sealing it, looking at it
    operations.py  what is done to it: the calls
    probes.py      which operation is asked on which regions and spans
    half.py        a control or sealed half in a process of its own, and what it told
"""
