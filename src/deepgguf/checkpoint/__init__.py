"""What Hugging Face publishes, read strictly: SafeTensors shards, config, tokenizer, model card, byte ranges."""
