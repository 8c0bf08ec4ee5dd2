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
    """Metrics that need numpy and scipy alone, then those of networks, which need torch and weights of the user's."""
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
        *_perceptual(),
    ]


def _perceptual() -> list[MetricSpec]:
    kinds = ("image/gray8", "image/rgb8")
    return [
        MetricSpec(
            name="lpips",
            summary="LPIPS, distance of AlexNet's features; needs weights",
            target="codectk.perceptual.metrics:LPIPS",
            direction="lower",
            kinds=kinds,
            network=True,
        ),
        MetricSpec(
            name="dists",
            summary="DISTS, distance of VGG16's features; needs weights",
            target="codectk.perceptual.metrics:DISTS",
            direction="lower",
            kinds=kinds,
            network=True,
        ),
        MetricSpec(
            name="fid",
            summary="FID, distance between sets of patches, from 50 pictures up; needs weights",
            target="codectk.perceptual.metrics:FID",
            direction="lower",
            kinds=kinds,
            corpus=True,
            fewest=50,
            network=True,
        ),
    ]
