"""What Hugging Face publishes, read strictly: config, tokenizer, model card, shards; and importance matrices."""
