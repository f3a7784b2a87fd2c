"""What a training step costs, as ratios: against torch.nn, against peers, and against what the machine can do.

    make bench                                       everything, about ten minutes on two cores
    python -m benchmarks --only packed lstm-256      one group, one case
    python -m benchmarks --rounds 21 --json FILE     a longer look, kept
    python -m benchmarks.picture FILE docs/benchmarks.png

`cases.py` holds what is measured and what must be reached, as data. Whatever is ours is compared with the reference
first (`verify.py`); what is wrong is reported as wrong and not timed.
"""
