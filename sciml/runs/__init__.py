"""The world: configs, run directories, checkpoints, progress, reports. Nothing here differentiates anything."""
