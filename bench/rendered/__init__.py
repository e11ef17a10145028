"""Pictures that benchmarks and trainings draw for themselves."""
