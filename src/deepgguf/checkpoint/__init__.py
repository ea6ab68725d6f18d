"""What Hugging Face publishes, read strictly: a folder of safetensors shards, their index, JSON files.

The bytes come from strangers. Every function here either returns what the files say or raises CheckpointError; nothing
else escapes, and nothing is believed that was not checked against the files' sizes.
"""
