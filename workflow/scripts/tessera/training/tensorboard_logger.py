"""Event files, which TensorBoard shows."""

import numpy as np

from tessera.networks.tensorflow_setup import tf
from tessera.training.patch_overlays import draw_comparison


class Events:
    """TensorBoard's event files in a folder, one for each time that a training goes on; steps are epochs."""

    name = "TensorBoard"

    def __init__(self, folder, settings):
        self._folder = folder
        self._settings = settings

    def start(self, epochs):
        if not epochs:
            for path in self._folder.glob("events.out.tfevents.*"):
                path.unlink()
        self._mark_start(epochs + 1)
        self._writer = tf.summary.create_file_writer(str(self._folder))
        if not epochs:
            with self._writer.as_default(step=0):
                tf.summary.text("settings", settings_table(self._settings))

    def _mark_start(self, step):
        """Have readers drop what earlier runs wrote of `step` and later; TensorFlow 2 has no call for it."""
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriter(str(self._folder))
            writer.add_session_log(tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START), step)
            writer.close()

    def scalars(self, epoch, logs):
        with self._writer.as_default(step=epoch):
            for column, value in logs.items():
                tf.summary.scalar(f"{section(column)}/{column}", value)
        self._writer.flush()

    def pictures(self, epoch, patches, outputs):
        with self._writer.as_default(step=epoch):
            for index, *planes in patches:
                tf.summary.image(f"patches/{index}", np.asarray(draw_comparison(*planes, outputs))[None])
        self._writer.flush()

    def finish(self):
        self._writer.close()


def section(column):
    """Under which heading TensorBoard shows a column of the history."""
    return next((heading for heading in ("loss", "iou") if heading in column), "run")


def settings_table(settings):
    """Settings as a table in Markdown."""
    rows = [f"| {key} | {value} |" for key, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])
