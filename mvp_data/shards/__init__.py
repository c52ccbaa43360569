"""The format of finished samples: JSON record, tar, index, byte offsets, reader, and the prompt of a record.

It must not know how samples are made: nothing here decodes a video, embeds a frame or reads the bank.
"""
