//! What the server is asked, and how its answers become pages: one request where that is enough, more where somebody must be looked
//! at or a page lies deep.

use super::deep::{DEEP, TIMES, Values};
use super::marks::Mark;
use super::query::{self, Found, Looked, PLACE, Pages, Plan, TEXT};
use super::{Inner, http, server, settings};
use crate::error::IndexError;
use crate::index::{IndexPage, IndexQuery, Sort};
use meilisearch_sdk::errors::{Error, ErrorCode, ErrorType};
use meilisearch_sdk::indexes::Index;
use meilisearch_sdk::search::{MatchingStrategies, SearchQuery, SearchResults, Selectors};
use std::collections::BTreeMap;
use std::time::Instant;
use stele_archive::{DayCount, Rev};

/// Most documents a search looks at one by one.
pub(super) const MAX_LOOKED_AT: usize = 50_000;

/// Documents that are fetched at once to be looked at; a long text's part has some 30 kB.
const LOOKED_AT_ONCE: usize = 500;

/// How often a search starts over because the index began anew under it.
const ATTEMPTS: usize = 3;

impl Inner {
    /// What a request failed with; where the index is not what it must be, it is prepared before the next one.
    fn failed(&self, error: Error) -> IndexError {
        let is_invalid = matches!(&error, Error::Meilisearch(error) if error.error_type == ErrorType::InvalidRequest);
        if is_invalid {
            self.forget();
        }
        server::unavailable(error)
    }

    async fn answers(&self, questions: Vec<SearchQuery<'_, http::Wire>>) -> Result<Vec<SearchResults<Found>>, Error> {
        let mut all = self.server.client.multi_search();
        for question in questions {
            all.with_search_query(question);
        }
        let began = Instant::now();
        let answers = all.execute::<Found>().await?.results;
        if began.elapsed() >= settings::CUTOFF {
            return Err(Error::Other("the search took so long that its answer may be cut off".into()));
        }
        Ok(answers)
    }

    /// Asks several questions about the documents of a life. `None` when the index has another one, or went back.
    async fn ask(
        &self,
        questions: Vec<SearchQuery<'_, http::Wire>>,
        known: &Mark,
    ) -> Result<Option<Vec<SearchResults<Found>>>, IndexError> {
        let answers = match self.answers(questions).await {
            Ok(answers) => answers,
            Err(error) if server::is(&error, &ErrorCode::IndexNotFound) => {
                self.forget();
                return Ok(None);
            }
            Err(error) => return Err(self.failed(error)),
        };
        if answers.iter().any(|answer| answer.total_hits.is_some_and(|hits| hits > 0)) {
            return Ok(Some(answers));
        }
        match self.look().await {
            Ok(mark) => Ok((mark.life == known.life && mark.at >= known.at).then_some(answers)),
            Err(IndexError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The page of a search.
    pub(super) async fn find(&self, query: &IndexQuery) -> Result<IndexPage, IndexError> {
        for _ in 0..ATTEMPTS {
            let mark = self.present().await?;
            if mark.life.is_empty() {
                return Ok(IndexPage::default());
            }
            if let Some(page) = self.find_in(query, &mark).await? {
                return Ok(page);
            }
        }
        Err(IndexError::unavailable("the index keeps beginning anew"))
    }

    /// `None` when the index began anew meanwhile.
    async fn find_in(&self, query: &IndexQuery, mark: &Mark) -> Result<Option<IndexPage>, IndexError> {
        let plan = Plan::of(query, mark);
        let (doubtful, sure, beyond) = (plan.doubtful(), plan.sure(), plan.sure_beyond());
        let phrase = plan.words.as_ref().map(|words| words.phrase.as_str());
        let index = self.server.index(self.uid());
        let filter = beyond.as_deref().or(sure.as_deref());
        let ask_for = |filter, pages: Pages| {
            let mut questions = Vec::new();
            for page in (pages.first..).take(pages.count) {
                let mut question = question(&index, phrase, filter, (page, pages.length), PLACE);
                question.with_sort(plan.sort);
                questions.push(question);
            }
            questions
        };
        let is_ranked = query.sort == Sort::Relevance && phrase.is_some();
        let is_deep = !is_ranked && query.limit > 0 && query.offset >= DEEP;
        let is_counted_apart = beyond.is_some() || is_deep;
        // As if there were nobody to be looked at: that is so more often than not.
        let mut pages = Pages::holding(query.offset, query.limit);
        let mut questions = Vec::new();
        questions.extend(doubtful.iter().map(|filter| question(&index, phrase, filter, (1, LOOKED_AT_ONCE), TEXT)));
        if is_counted_apart {
            questions.extend(sure.iter().map(|filter| question(&index, phrase, filter, (1, 0), PLACE)));
        }
        if !is_deep {
            questions.extend(filter.into_iter().flat_map(|filter| ask_for(filter, pages)));
        }
        let Some(answers) = self.ask(questions, mark).await? else { return Ok(None) };
        let mut answers = answers.into_iter();

        let mut looked = Looked::default();
        if let Some(filter) = &doubtful
            && let Some(mut answer) = answers.next()
        {
            let many = answer.total_hits.unwrap_or_default();
            if many > MAX_LOOKED_AT {
                return Err(IndexError::TooMany(format!(
                    "{many} messages would have to be compared with the text one by one, at most {MAX_LOOKED_AT} are"
                )));
            }
            for page in 2.. {
                answer.hits.iter().for_each(|hit| looked.look(&hit.result, &query.phrase));
                if (page - 1) * LOOKED_AT_ONCE >= many {
                    break;
                }
                let next = vec![question(&index, phrase, filter, (page, LOOKED_AT_ONCE), TEXT)];
                match self.ask(next, mark).await?.and_then(|mut answers| answers.pop()) {
                    Some(next) => answer = next,
                    None => return Ok(None),
                }
            }
        }
        let (looked, others) = looked.hits(query);

        let counted = answers.as_slice().first().and_then(|answer| answer.total_hits).unwrap_or_default() as u64;
        let mut answers: Vec<_> = answers.skip(usize::from(is_counted_apart)).collect();
        let first = query.offset.saturating_sub(looked.len());
        if let Some(filter) = filter
            && query.limit > 0
            && (is_deep || first < query.offset)
        {
            let length = query.offset - first + query.limit;
            let mut near = (filter.to_owned(), first);
            if is_deep {
                match self.near(query.sort, phrase, filter, (first, length), mark).await? {
                    Some(found) => near = found,
                    None => return Ok(None),
                }
            }
            pages = Pages::holding(near.1, length);
            match self.ask(ask_for(&near.0, pages), mark).await? {
                Some(again) => answers = again,
                None => return Ok(None),
            }
        }
        let sure =
            answers.iter().flat_map(|answer| &answer.hits).map(|hit| hit.result.rank(is_ranked)).skip(pages.skipped);
        let sure: Vec<_> = sure.take(query.offset - first + query.limit).collect();
        let hits = crate::searcher::cut(&sure, &looked, first, query);
        Ok(Some(IndexPage { hits, total: others + counted, watermark: Rev(mark.at) }))
    }

    /// A filter for fewer rows that hold `length` rows from `from` on of those this filter is for, in an order of time, and where they
    /// begin among them. `None` when the index began anew meanwhile.
    async fn near(
        &self,
        sort: Sort,
        phrase: Option<&str>,
        filter: &str,
        (from, length): (usize, usize),
        mark: &Mark,
    ) -> Result<Option<(String, usize)>, IndexError> {
        let index = self.server.index(self.uid());
        let (mut filter, mut from) = (filter.to_owned(), from);
        for field in TIMES {
            if from < DEEP {
                break;
            }
            let fields = [field];
            let mut counting = question(&index, phrase, &filter, (1, 0), PLACE);
            counting.with_facets(Selectors::Some(&fields));
            let Some(answer) = self.ask(vec![counting], mark).await?.and_then(|mut answers| answers.pop()) else {
                return Ok(None);
            };
            let counts = answer.facet_distribution.and_then(|mut all| all.remove(field)).unwrap_or_default();
            if Some(counts.values().sum()) != answer.total_hits {
                // There are more values than the server tells.
                break;
            }
            let Some(values) = Values::holding(&counts, sort != Sort::Oldest, from, length) else {
                return Ok(Some((filter, usize::MAX)));
            };
            filter = format!("{filter} AND {}", values.filter(field));
            from -= values.before;
            if values.least < values.greatest {
                break;
            }
        }
        Ok(Some((filter, from)))
    }

    /// How many messages of each day the index has, and up to where.
    pub(super) async fn count_days(&self) -> Result<(Rev, Vec<DayCount>), IndexError> {
        for _ in 0..ATTEMPTS {
            let mark = self.present().await?;
            if mark.life.is_empty() {
                return Ok((Rev(0), Vec::new()));
            }
            let (index, filter) = (self.server.index(self.uid()), query::fed(&mark));
            let Some(answers) = self.ask(vec![counting(&index, &filter)], &mark).await? else { continue };
            return Ok((Rev(mark.at), days(answers, &mark)?));
        }
        Err(IndexError::unavailable("the index keeps beginning anew"))
    }

    /// The same of an index in the making that has come so far.
    pub(super) async fn count_days_beside(&self, mark: &Mark) -> Result<Vec<DayCount>, IndexError> {
        let (index, filter) = (self.server.index(&self.new_uid()), query::fed(mark));
        days(self.answers(vec![counting(&index, &filter)]).await.map_err(server::unavailable)?, mark)
    }
}

fn counting<'q>(index: &'q Index<http::Wire>, filter: &'q str) -> SearchQuery<'q, http::Wire> {
    let mut question = SearchQuery::new(index);
    question.with_filter(filter).with_hits_per_page(0).with_facets(Selectors::Some(&["day"]));
    question
}

fn days(answers: Vec<SearchResults<Found>>, mark: &Mark) -> Result<Vec<DayCount>, IndexError> {
    let mut days: BTreeMap<i64, u64> = BTreeMap::new();
    let counts = answers.into_iter().next().and_then(|answer| answer.facet_distribution);
    for (day, count) in counts.into_iter().flat_map(|mut all| all.remove("day").unwrap_or_default()) {
        let day = day.parse::<f64>().map_err(IndexError::unavailable)?;
        *days.entry(day as i64).or_default() += count as u64;
    }
    for day in mark.parked.iter().filter_map(|parked| parked.day) {
        *days.entry(day).or_default() += 1;
    }
    Ok(days.into_iter().map(|(day, messages)| DayCount { day, messages }).collect())
}

/// A page of the documents that have these words and pass a filter.
fn question<'q>(
    index: &'q Index<http::Wire>,
    phrase: Option<&'q str>,
    filter: &'q str,
    (page, length): (usize, usize),
    fields: &'static [&'static str],
) -> SearchQuery<'q, http::Wire> {
    let mut question = SearchQuery::new(index);
    question.query = phrase;
    question.with_filter(filter).with_page(page).with_hits_per_page(length);
    question.with_attributes_to_retrieve(Selectors::Some(fields)).with_matching_strategy(MatchingStrategies::ALL);
    question
}
