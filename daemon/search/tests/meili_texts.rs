//! Texts and queries of any length on a Meilisearch, and texts that nearly hold what is asked for: on a real server where there is one,
//! else on the stand-in.

mod common;

use common::meili::Place;
use std::sync::Arc;
use stele_archive::FeedRow;
use stele_search::contract::{MemoryArchive, expected};
use stele_search::fold::{MAX_QUERY_CHARS, fold};
use stele_search::{IndexQuery, MeiliIndex, SearchIndex, Sort, Watermark};

/// An index of these texts.
async fn indexed(texts: &[String]) -> (Place, Arc<dyn SearchIndex>, Vec<FeedRow>) {
    let place = Place::new().await;
    let archive = MemoryArchive::default();
    common::add(&archive, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let rows = archive.rows();
    let index: Arc<dyn SearchIndex> = Arc::new(MeiliIndex::open(place.options.clone()).await.unwrap());
    index.apply(rows.clone(), Watermark::at(rows.last().unwrap())).await.unwrap();
    (place, index, rows)
}

async fn agree(index: &dyn SearchIndex, rows: &[FeedRow], phrase: &str) {
    for sort in [Sort::Newest, Sort::Oldest, Sort::Relevance] {
        for (offset, limit) in [(0, 100), (1, 2), (0, 0)] {
            let query = IndexQuery { phrase: fold(phrase), sort, offset, limit, ..IndexQuery::default() };
            let page = index.search(&query).await.unwrap();
            let shown: String = phrase.chars().take(20).collect();
            assert_eq!(page, expected(rows, &query), "{shown:?}… of {} characters", phrase.chars().count());
        }
    }
}

#[tokio::test]
async fn long_texts_and_long_queries() {
    let cycle = |seed: usize, length: usize| -> String {
        (0..length).map(|n| char::from_u32(0x4e00 + ((n * n + n / 7) * (seed + 3) % 997) as u32).unwrap()).collect()
    };
    let mut texts: Vec<String> = [(1, 40), (1, 9_000), (2, 9_001), (3, 24_500)].map(|(seed, n)| cycle(seed, n)).into();
    texts.push(format!("{}{}{}", cycle(4, 7_990), "在两份文件之间的一句话", cycle(4, 9_000)));
    texts.push("一句话".into());
    texts.push("ab".repeat(9_000));
    texts.push(String::new());
    let (_place, index, rows) = indexed(&texts).await;
    for phrase in ["", "一句话", "两份文件之间", "ab", "ba", "bab", "abab", "中", "x"] {
        agree(&*index, &rows, phrase).await;
    }
    agree(&*index, &rows, &"ba".repeat(MAX_QUERY_CHARS / 2)).await;
    for text in &texts {
        let chars: Vec<char> = text.chars().collect();
        for (from, length) in [
            (0, MAX_QUERY_CHARS),
            (7_500, MAX_QUERY_CHARS),
            (7_999, 2),
            (7_998, 5),
            (8_000, 490),
            (15_600, 600),
            (23_900, 600),
        ] {
            if chars.len() >= from + length {
                agree(&*index, &rows, &chars[from..from + length].iter().collect::<String>()).await;
            }
        }
    }
}

/// The archive's longest text: 16 MiB.
#[tokio::test]
async fn the_longest_text() {
    const BYTES: usize = 16 << 20;
    let mut text = "合同编号".repeat(BYTES / 12);
    // Across the end of a part, and at the end of all.
    let middle = 3 * 8_000 * 100 - 6;
    text.replace_range(middle..middle + 12, "独一无二");
    text.replace_range(text.len() - 12.., "到此为止");
    assert!(text.len() > BYTES - 12);
    let (_place, index, rows) = indexed(&[text, "到此为止".to_owned()]).await;
    for phrase in ["独一无二", "一无", "到此为止", "编号合同编号", "没有"] {
        let query = IndexQuery { phrase: fold(phrase), limit: 10, ..IndexQuery::default() };
        assert_eq!(index.search(&query).await.unwrap(), expected(&rows, &query), "{phrase:?}");
    }
}

#[tokio::test]
async fn texts_that_have_all_the_pieces_and_not_the_whole() {
    let texts: Vec<String> = [
        "2024110512345",
        "1105 2024 0512",
        "abcabd bcd",
        "abcd",
        "abcxbcd",
        "aabb abab bbaa",
        "哈哈哈",
        "哈哈 哈哈哈哈",
        "www.a.com www.b.com",
        "the other, then there",
        "他说的话不是你说的话",
        "说的话你说",
        "AND or in NOT to is",
        "Ünïcödé ﬁ ＡＢＣ camelCase snake_case 3.14 it's",
    ]
    .map(str::to_owned)
    .into();
    let (_place, index, rows) = indexed(&texts).await;
    for phrase in [
        "1105",
        "20241105",
        "0512",
        "11051",
        "abcd",
        "bcbc",
        "abab",
        "aabba",
        "哈哈哈",
        "哈哈哈哈",
        "哈 哈哈",
        "www.b",
        "www.a.com www.",
        "there",
        "then the",
        "的话不是你",
        "你说的话",
        "说的话你",
        "or in",
        "in",
        "is",
        "not to",
        "camelc",
        "e_c",
        "3.1",
        "it's",
        "fi a",
        "ïcö",
    ] {
        agree(&*index, &rows, phrase).await;
    }
}
