"""What codectk itself brings, through the same hooks as any plugin."""

from codectk.hookspecs import hookimpl
from codectk.specs import DatasetSpec, MetricSpec

CODECTK_API = 1


@hookimpl
def codectk_datasets() -> list[DatasetSpec]:
    """Data that is at hand without a download."""
    return [
        DatasetSpec(
            name="photos",
            summary="7 photos that ship with scikit-image, and one more to look at",
            target="codectk.dataset:sample_photos",
            kinds=("image/rgb8",),
            licence="see scikit-image's data/README.txt",
        )
    ]


@hookimpl
def codectk_metrics() -> list[MetricSpec]:
    """Metrics that need numpy and scipy alone."""
    images = ("image/gray8", "image/rgb8", "image/rgba8", "image/gray16")
    return [
        MetricSpec(
            name="psnr",
            summary="peak signal-to-noise ratio",
            target="codectk.metric:PSNR",
            unit="dB",
            direction="higher",
        ),
        MetricSpec(
            name="ssim",
            summary="structural similarity, Gaussian window of 11",
            target="codectk.metric:SSIM",
            direction="higher",
            kinds=images,
        ),
        MetricSpec(
            name="max_error", summary="largest absolute error", target="codectk.metric:MaxError", direction="lower"
        ),
        MetricSpec(
            name="nrmse",
            summary="root mean squared error over the value range",
            target="codectk.metric:NRMSE",
            direction="lower",
        ),
    ]
