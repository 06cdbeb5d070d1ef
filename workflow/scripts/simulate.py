"""Simulate a movie of dividing cells; writes an OME-TIFF and its truth in Cell Tracking Challenge form."""

from lib.logs import logged


def simulate(
    movie,
    truth,
    *,
    seed=0,
    frames=20,
    size_px=320,
    cells=24,
    diameter_px=22,
    cycle_frames=16,
    smaller_share=0.5,
    speed_px=1.5,
    photons=200,
    pixel_um=0.5,
    frame_s=600,
):
    """Write a seeded movie of dividing cells and its truth.

    Args:
        movie: path of the OME-TIFF to write, uint16 (t, y, x).
        truth: folder to write, man_track000.tif... (uint16 ids) and man_track.txt (id, first frame, last frame, parent).
        seed: integer, 0 or more.
        frames: number of frames, 1 to 1000.
        size_px: side of the square frame in pixels, 64 or more.
        cells: cells in the frame at the start, 1 or more.
        diameter_px: typical diameter of a cell, 10 or more.
        cycle_frames: frames from a cell's birth to its division, more than 1.
        smaller_share: share of the mother's area that the smaller daughter takes, 0.2 to 0.5.
        speed_px: typical speed of a cell, pixels per frame, 0 or more.
        photons: photons per pixel from a typical cell, above 0; fewer are noisier.
        pixel_um: side of a pixel in micrometres, above 0.
        frame_s: seconds between frames, above 0.
    """
    raise NotImplementedError


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        simulate(snakemake.output.movie, snakemake.output.truth, **snakemake.params.settings)
