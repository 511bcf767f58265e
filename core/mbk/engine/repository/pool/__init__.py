"""The objects of shared backups: an object that an earlier backup has, and that is the same still, is not copied again."""
