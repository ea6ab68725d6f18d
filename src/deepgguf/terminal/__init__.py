"""What deepgguf shows on a terminal; imported only where something is shown, since rich is slow to load."""
