"""What happens to a source tensor on its way into the file. Each transform predicts its output before it acts."""
