"""`python -m mvp_train`, for launchers: `torchrun --nproc-per-node 8 -m mvp_train grpo RECIPE`."""

from mvp_train.cli import main

main()
