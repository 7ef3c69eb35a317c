"""The search: an Optuna study over a space's genes (the only package that imports Optuna)."""
