"""What every flow runs on: workspace, stages, progress, tracking and the Prefect server."""
