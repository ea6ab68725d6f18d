"""Output to S3 and to what speaks it, by multipart upload."""
