"""Which models there are, where their weights come from, and what is known of each file.

Nothing here is guessed: a hash or a size that nobody published is None, and `ModelRow.source` says where the
facts of a row were found.
"""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of an architecture's parameters in single precision; a checkpoint is some kilobytes larger.
_PARAMETER_BYTES = {
    "vit_t": 40_560_924,
    "vit_b": 374_942_912,
    "vit_l": 1_249_372_352,
    "vit_h": 2_564_363_456,
}


@dataclass(frozen=True)
class ModelRow:
    """One model of the catalogue.

    Attributes
    ----------
    key
        What `napari_sam.load_predictor` and ``napari-sam models`` call it.
    title
        What a user reads in a list.
    architecture
        Key of `napari_sam.model.sam.CONFIGS`.
    use
        What it is good for.
    licence, citation
        Of the weights.
    address
        Where the weights are downloaded; None for the model that ships with the package.
    file
        Name of the file in the folder of models.
    sha256, xxh128
        Published hash of the file. XXH128 tells a damaged file or a wrong one, but not a forged one; so
        where no SHA-256 is published, that of the first download is recorded and holds from then on.
    size
        Published size in bytes.
    source
        Where address, hashes and licence were found.
    """

    key: str
    title: str
    architecture: str
    use: str
    licence: str
    citation: str
    source: str
    address: str | None = None
    file: str = ""
    sha256: str | None = None
    xxh128: str | None = None
    size: int | None = None

    @property
    def is_bundled(self) -> bool:
        """Whether the weights ship with the package."""
        return self.address is None

    @property
    def about_bytes(self) -> int:
        """Size of the file, or nearly that where nobody published it; 0 for a bundled model."""
        return 0 if self.is_bundled else self.size or _PARAMETER_BYTES[self.architecture]


_SAM = "Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643"
_EARLIER_MICRO_SAM = (
    "micro_sam/util.py at commit 4d7a406 of github.com/computational-cell-analytics/micro-sam"
)
_SAM_SOURCE = (
    "address: README of github.com/facebookresearch/segment-anything; "
    f"SHA-256: {_EARLIER_MICRO_SAM}; size: the same file on huggingface.co/mashb1t/misc"
)
_MICRO_SAM = (
    "Archit et al., Segment Anything for Microscopy, Nature Methods 2025, doi:10.1038/s41592-024-02580-4"
)
_MICRO_SAM_SOURCE = (
    "address and XXH128: micro_sam/v1/util.py of github.com/computational-cell-analytics/micro-sam; "
    "licence: micro_sam/bioimageio/model_export.py there"
)
_PATHO_SAM = "Griebel et al., Segment Anything for Histopathology, 2025, arXiv:2502.00408"
_PATHO_SAM_SOURCE = (
    "address and XXH128: micro_sam/v1/util.py of github.com/computational-cell-analytics/micro-sam; "
    "licence of the code: github.com/computational-cell-analytics/patho-sam"
)
_META = "https://dl.fbaipublicfiles.com/segment_anything"
_ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io"
_CELLS = "cells and nuclei in light microscopy"
_ORGANELLES = "mitochondria, nuclei and other round organelles in electron microscopy"
_NUCLEI = "nuclei in stained histology"

CATALOGUE = {
    row.key: row
    for row in (
        ModelRow(
            "nano",
            "nano",
            "nano",
            use="nuclei and cells, at once and without a graphics card; ships with the package",
            licence="BSD-3-Clause",
            citation="napari_sam, docs/nano.md",
            source="trained here",
        ),
        ModelRow(
            "vit_t",
            "MobileSAM",
            "vit_t",
            use="any objects, on computers without a graphics card",
            licence="Apache-2.0",
            citation="Zhang et al., Faster Segment Anything, 2023, arXiv:2306.14289",
            source="address: weights/ in github.com/ChaoningZhang/MobileSAM; "
            f"SHA-256: {_EARLIER_MICRO_SAM}; "
            "size: the same file on huggingface.co/xingren23/comfyflow-models",
            address="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
            file="mobile_sam.pt",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            size=40_728_226,
        ),
        ModelRow(
            "vit_b",
            "SAM ViT-B",
            "vit_b",
            use="any objects",
            licence="Apache-2.0",
            citation=_SAM,
            source=_SAM_SOURCE,
            address=f"{_META}/sam_vit_b_01ec64.pth",
            file="sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            size=375_042_383,
        ),
        ModelRow(
            "vit_l",
            "SAM ViT-L",
            "vit_l",
            use="any objects; finer than ViT-B, slower",
            licence="Apache-2.0",
            citation=_SAM,
            source=_SAM_SOURCE,
            address=f"{_META}/sam_vit_l_0b3195.pth",
            file="sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            size=1_249_524_607,
        ),
        ModelRow(
            "vit_h",
            "SAM ViT-H",
            "vit_h",
            use="any objects; hardly finer than ViT-L, the slowest",
            licence="Apache-2.0",
            citation=_SAM,
            source=_SAM_SOURCE,
            address=f"{_META}/sam_vit_h_4b8939.pth",
            file="sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size=2_564_550_879,
        ),
        ModelRow(
            "medsam",
            "MedSAM ViT-B",
            "vit_b",
            use="organs and lesions in CT, MR, ultrasound and other medical images; trained with boxes",
            licence="CC-BY-4.0 (weights), Apache-2.0 (code)",
            citation="Ma et al., Segment Anything in Medical Images, Nature Communications 15, 654 (2024)",
            source="address: Zenodo record 10689643, which MedSAM's users name; SHA-256: the same file on "
            "huggingface.co/spaces/dennistrujillo/MedSAM_AortaTest and in several projects that list it; "
            "code: github.com/bowang-lab/MedSAM",
            address="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
            file="medsam_vit_b.pth",
            sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
            size=375_049_145,
        ),
        *(
            ModelRow(
                f"vit_{letter}_lm",
                f"micro-sam light microscopy ViT-{letter.upper()}",
                f"vit_{letter}",
                use=_CELLS,
                licence="CC-BY-4.0",
                citation=_MICRO_SAM,
                source=_MICRO_SAM_SOURCE,
                address=f"{_ZOO}/{record}/files/vit_{letter}.pt",
                file=f"vit_{letter}_lm.pt",
                xxh128=xxh128,
            )
            for letter, record, xxh128 in (
                ("t", "faithful-chicken/1.1", "72ec5074774761a6e5c05a08942f981e"),
                ("b", "diplomatic-bug/1.2", "fe9252a29f3f4ea53c15a06de471e186"),
                ("l", "idealistic-rat/1.2", "017f20677997d628426dec80a8018f9d"),
            )
        ),
        *(
            ModelRow(
                f"vit_{letter}_em_organelles",
                f"micro-sam EM organelles ViT-{letter.upper()}",
                f"vit_{letter}",
                use=_ORGANELLES,
                licence="CC-BY-4.0",
                citation=_MICRO_SAM,
                source=_MICRO_SAM_SOURCE,
                address=f"{_ZOO}/{record}/files/vit_{letter}.pt",
                file=f"vit_{letter}_em_organelles.pt",
                xxh128=xxh128,
            )
            for letter, record, xxh128 in (
                ("t", "greedy-whale/1", "253474720c497cce605e57c9b1d18fd9"),
                ("b", "noisy-ox/1.2", "f3bf2ed83d691456bae2c3f9a05fb438"),
                ("l", "humorous-crab/1.2", "810b084b6e51acdbf760a993d8619f2d"),
            )
        ),
        *(
            ModelRow(
                f"vit_{letter}_histopathology",
                f"micro-sam histopathology ViT-{letter.upper()}",
                f"vit_{letter}",
                use=_NUCLEI,
                licence="not stated (weights), MIT (code)",
                citation=_PATHO_SAM,
                source=_PATHO_SAM_SOURCE,
                address=f"https://owncloud.gwdg.de/index.php/s/{share}/download",
                file=f"vit_{letter}_histopathology.pt",
                xxh128=xxh128,
            )
            for letter, share, xxh128 in (
                ("b", "sBB4H8CTmIoBZsQ", "ffd1a2cd84570458b257bd95fdd8f974"),
                ("l", "IZgnn1cpBq2PHod", "b591833c89754271023e901281dee3f2"),
            )
        ),
    )
}


def model_row(key: str) -> ModelRow:
    """Look a model up.

    Raises
    ------
    ValueError
        If the catalogue has no such key.
    """
    if key not in CATALOGUE:
        raise ValueError(f"The model {key!r} is unknown; choose one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[key]


def readable_size(size: int) -> str:
    """Write a number of bytes as people do: ``375 MB``, ``2.56 GB``."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
