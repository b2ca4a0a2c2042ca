//! Small files that are what they claim to be: a reader that looks at their first bytes recognises each of them.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use rand::{Rng, RngCore, rngs::StdRng};

/// Size of one chunk of the vendor's media call, bytes.
pub const CHUNK: usize = 512 * 1024;

/// A file at the source.
#[derive(Clone, Debug)]
pub struct MediaFile {
    /// Its name in the corp's `media` folder.
    pub fileid: String,
    /// What messages call it.
    pub sdkfileid: String,
    /// Lower-case hex MD5.
    pub md5: String,
    /// Bytes.
    pub size: usize,
    /// Extension without the dot.
    pub extension: &'static str,
    /// Seconds it plays, for sound and pictures that move.
    pub seconds: u32,
}

/// The sdkfileid of a file in the stub's folder.
pub fn sdkfileid(fileid: &str) -> String {
    STANDARD.encode(format!("stub:{fileid}"))
}

/// A pool of distinct files per type.
pub struct MediaPool {
    files: Vec<(MediaFile, Vec<u8>)>,
}

/// Types of files, as the stories need them.
pub const TYPES: [&str; 8] = ["jpg", "amr", "mp4", "gif", "png", "pdf", "csv", "zip"];

impl MediaPool {
    /// `per_type` files of each type. One of the videos takes several chunks, one exactly two.
    pub fn generate(rng: &mut StdRng, per_type: usize) -> Self {
        let mut files = Vec::new();
        for extension in TYPES {
            for number in 0..per_type {
                let seconds = rng.random_range(2..50);
                let bytes = match (extension, number) {
                    ("jpg", _) => jpeg(rng),
                    ("amr", _) => amr(rng, seconds),
                    ("mp4", 0) => mp4(rng, CHUNK * 2 + 70_001),
                    ("mp4", 1) => mp4(rng, CHUNK * 2),
                    ("mp4", _) => mp4(rng, 4_000),
                    ("gif", _) => gif(rng),
                    ("png", _) => png(rng),
                    ("pdf", _) => pdf(rng),
                    ("csv", _) => csv(rng),
                    _ => zip("清单.csv", &csv(rng)),
                };
                let fileid = format!("{extension}{number}");
                files.push((describe(&fileid, extension, seconds, &bytes), bytes));
            }
        }
        Self { files }
    }

    /// All files and their bytes.
    pub fn files(&self) -> impl Iterator<Item = &(MediaFile, Vec<u8>)> {
        self.files.iter()
    }

    /// A file of this type.
    pub fn pick(&self, extension: &str, rng: &mut impl Rng) -> &MediaFile {
        let of_type = self.files.iter().filter(|(file, _)| file.extension == extension);
        let index = rng.random_range(0..of_type.clone().count());
        &of_type.clone().nth(index).expect("within the count").0
    }

    /// The bytes of the pool's file with this MD5.
    pub fn bytes(&self, md5: &str) -> Option<&[u8]> {
        self.files.iter().find(|(file, _)| file.md5 == md5).map(|(_, bytes)| bytes.as_slice())
    }
}

/// What messages tell about these bytes.
pub fn describe(fileid: &str, extension: &'static str, seconds: u32, bytes: &[u8]) -> MediaFile {
    MediaFile {
        fileid: fileid.into(),
        sdkfileid: sdkfileid(fileid),
        md5: hex::encode(Md5::digest(bytes)),
        size: bytes.len(),
        extension,
        seconds,
    }
}

/// A baseline JPEG in grey: a mosaic of 8×8 blocks that are flat, so each is one DC difference and an end of block.
fn jpeg(rng: &mut StdRng) -> Vec<u8> {
    let (columns, rows) = (rng.random_range(4..16u16), rng.random_range(4..12u16));
    let mut out = vec![0xff, 0xd8, 0xff, 0xe0, 0, 16];
    out.extend(b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    out.extend([0xff, 0xdb, 0, 67, 0]);
    out.extend([8; 64]); // quantisation: a DC step is one grey level
    out.extend([0xff, 0xc0, 0, 11, 8]);
    out.extend((rows * 8).to_be_bytes());
    out.extend((columns * 8).to_be_bytes());
    out.extend([1, 1, 0x11, 0]);
    // DC codes: category n of 0..=8 has four bits; AC: the end of block is the only symbol, one bit, zero.
    out.extend([0xff, 0xc4, 0, 19 + 9, 0x00, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(0..9u8);
    out.extend([0xff, 0xc4, 0, 19 + 1, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([0xff, 0xda, 0, 8, 1, 1, 0x00, 0, 63, 0]);
    let (mut bits, mut held, mut last) = (0u32, 0u32, 0i32);
    let mut put = |out: &mut Vec<u8>, value: u32, count: u32| {
        bits = bits << count | value;
        held += count;
        while held >= 8 {
            let byte = (bits >> (held - 8)) as u8;
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
            held -= 8;
            bits &= (1 << held) - 1;
        }
    };
    for _ in 0..columns * rows {
        let level = rng.random_range(-120..120);
        let difference: i32 = level - last;
        last = level;
        let category = 32 - difference.unsigned_abs().leading_zeros();
        put(&mut out, category, 4);
        let low = if difference < 0 { difference - 1 } else { difference } as u32;
        put(&mut out, low & ((1 << category) - 1), category);
        put(&mut out, 0, 1);
    }
    put(&mut out, 0x7f, 7);
    out.extend([0xff, 0xd9]);
    out
}

/// AMR narrow band, 12.2 kbit/s: fifty frames a second of a header byte and 31 bytes.
fn amr(rng: &mut StdRng, seconds: u32) -> Vec<u8> {
    let mut out = b"#!AMR\n".to_vec();
    let mut frame = [0; 32];
    for _ in 0..seconds.min(8) * 50 {
        rng.fill_bytes(&mut frame[1..]);
        frame[0] = 0x3c;
        out.extend(frame);
    }
    out
}

/// An MP4 container: its header, a movie header, and media data up to `size` bytes in all.
fn mp4(rng: &mut StdRng, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size);
    let atom = |out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]| {
        out.extend(u32::try_from(content.len() + 8).expect("small").to_be_bytes());
        out.extend(name);
        out.extend(content);
    };
    atom(&mut out, b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41");
    let mut header = vec![0; 100];
    header[14..16].copy_from_slice(&1000u16.to_be_bytes()); // time scale: milliseconds
    header[18..20].copy_from_slice(&9000u16.to_be_bytes());
    header[96..100].copy_from_slice(&2u32.to_be_bytes());
    let mut movie = Vec::new();
    atom(&mut movie, b"mvhd", &header);
    atom(&mut out, b"moov", &movie);
    let mut data = vec![0; size - out.len() - 8];
    rng.fill_bytes(&mut data);
    atom(&mut out, b"mdat", &data);
    out
}

/// A GIF whose picture is not compressed: every run of 126 pixels starts with a clear code.
fn gif(rng: &mut StdRng) -> Vec<u8> {
    let side = rng.random_range(12..40u8);
    let mut out = b"GIF89a".to_vec();
    out.extend([side, 0, side, 0, 0xf6, 0, 0]);
    for level in 0..128u8 {
        out.extend([level * 2, 255 - level * 2, level]);
    }
    out.extend([0x2c, 0, 0, 0, 0, side, 0, side, 0, 0, 7]);
    let mut codes = Vec::new();
    for index in 0..usize::from(side) * usize::from(side) {
        if index % 126 == 0 {
            codes.push(0x80);
        }
        codes.push(rng.random_range(0..128u8));
    }
    codes.push(0x81);
    for block in codes.chunks(255) {
        out.push(u8::try_from(block.len()).expect("at most 255"));
        out.extend(block);
    }
    out.extend([0, 0x3b]);
    out
}

/// A PNG in true colour, its pixels in stored deflate blocks.
fn png(rng: &mut StdRng) -> Vec<u8> {
    let side = rng.random_range(16..48u32);
    let mut pixels = Vec::new();
    for row in 0..side {
        pixels.push(0);
        for column in 0..side {
            pixels.extend([(row * 5) as u8, (column * 5) as u8, rng.random()]);
        }
    }
    let mut data = vec![0x78, 0x01, 1];
    let length = u16::try_from(pixels.len()).expect("at most 48 * 145 bytes");
    data.extend(length.to_le_bytes());
    data.extend((!length).to_le_bytes());
    data.extend(&pixels);
    data.extend(adler32(&pixels).to_be_bytes());
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    for (name, content) in [(b"IHDR", header), (b"IDAT", data), (b"IEND", Vec::new())] {
        out.extend(u32::try_from(content.len()).expect("small").to_be_bytes());
        let start = out.len();
        out.extend(name);
        out.extend(content);
        let crc = crc32(&out[start..]);
        out.extend(crc.to_be_bytes());
    }
    out
}

/// A PDF of one page with a line of text.
fn pdf(rng: &mut StdRng) -> Vec<u8> {
    let text = format!("BT /F1 18 Tf 72 720 Td (Quotation {:08}) Tj ET", rng.random_range(0..100_000_000));
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{text}\nendstream", text.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let mut out = String::from("%PDF-1.4\n");
    let mut table = String::from("0000000000 65535 f \n");
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", out.len()));
        out.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let start = out.len();
    out.push_str(&format!("xref\n0 6\n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"));
    out.into_bytes()
}

fn csv(rng: &mut StdRng) -> Vec<u8> {
    let mut out = String::from("\u{feff}编号,数量,单价\r\n");
    for row in 1..rng.random_range(20..90) {
        out.push_str(&format!("{row},{},{}.50\r\n", rng.random_range(1..400), rng.random_range(10..9000)));
    }
    out.into_bytes()
}

/// A ZIP archive with one stored file.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).expect("small");
    let mut common = vec![20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0x58];
    common.extend(crc32(content).to_le_bytes());
    common.extend(size.to_le_bytes());
    common.extend(size.to_le_bytes());
    common.extend(u16::try_from(name.len()).expect("short").to_le_bytes());
    common.extend([0, 0]);
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(&common);
    out.extend(name.as_bytes());
    out.extend(content);
    let start = u32::try_from(out.len()).expect("small");
    out.extend(b"PK\x01\x02\x14\0");
    out.extend(&common);
    out.extend([0; 14]);
    out.extend(name.as_bytes());
    let length = u32::try_from(out.len()).expect("small") - start;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend(length.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_file_is_recognised_by_its_first_bytes() {
        let pool = MediaPool::generate(&mut StdRng::seed_from_u64(3), 3);
        for (file, bytes) in pool.files() {
            let found = infer::get(bytes).map(|kind| kind.extension());
            let expected = if file.extension == "csv" { None } else { Some(file.extension) };
            assert_eq!(found, expected, "{}", file.fileid);
            assert_eq!(file.size, bytes.len());
        }
    }
}
