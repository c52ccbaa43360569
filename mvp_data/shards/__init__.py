"""The format of finished samples: JSON record, tar, index, byte offsets, reader, and the prompt made from a record.

`record` defines the JSON of a sample; `mvp_data.pipeline.pack` fills it in. This package must not know how samples are
made: nothing here decodes a video, embeds a frame or reads the bank.
"""
