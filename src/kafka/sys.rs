//! What rdkafka 0.39 does not wrap: the member id of a group's metadata, the cached end of a partition, ids of topics, and
//! headers whose names are not UTF-8.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{CStr, CString},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    Offset,
    client::Client,
    consumer::{Consumer, ConsumerContext},
    message::BorrowedMessage,
};
use rdkafka_sys::{
    rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_name, rd_kafka_TopicDescription_topic_id,
    rd_kafka_Uuid_base64str, rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_member_id, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_get_watermark_offsets, rd_kafka_header_get_all, rd_kafka_message_headers,
    rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_resp_err_t,
};

/// The id of no topic, as librdkafka writes it.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// True where the consumer is a member of its group. An offset commit without member id would not be fenced.
pub(super) fn is_member<C: ConsumerContext>(consumer: &impl Consumer<C>) -> bool {
    let client: &Client<C> = consumer.client();
    // SAFETY: the client outlives the call; the metadata is ours, is read before it is destroyed, and is destroyed
    // once; the member id is a string of C that lives as long as the metadata.
    unsafe {
        let metadata = rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let member = rd_kafka_consumer_group_metadata_member_id(metadata);
        let known = !member.is_null() && !CStr::from_ptr(member).to_bytes().is_empty();
        rd_kafka_consumer_group_metadata_destroy(metadata);
        known
    }
}

/// The high watermark of a partition as of the last answer to a fetch: no request is made.
pub(super) fn cached_high_watermark<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client and the string outlive the call, which writes to two numbers on our stack.
    let outcome = unsafe {
        rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    let known = outcome == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        && Offset::from_raw(high) != Offset::Invalid
        && high >= 0;
    known.then_some(high)
}

/// The headers of a message. Kafka takes any bytes for a name; what is not UTF-8 in one is replaced (rdkafka panics there).
pub(super) fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(Cow<'a, str>, Option<&'a [u8]>)> {
    let mut found = Vec::new();
    // SAFETY: headers, names and values belong to the message, which outlives what is answered. Each pointer is looked at
    // before it is read, and a value has the length that is told with it.
    unsafe {
        let mut headers = ptr::null_mut();
        let none = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        if rd_kafka_message_headers(message.ptr(), &raw mut headers) != none || headers.is_null() {
            return found;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        while rd_kafka_header_get_all(headers, found.len(), &raw mut name, &raw mut value, &raw mut length) == none {
            let bytes = (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), length));
            let name = if name.is_null() { Cow::Borrowed("") } else { CStr::from_ptr(name).to_string_lossy() };
            found.push((name, bytes));
        }
    }
    found
}

/// The ids of those of these topics that are there: a topic has another one in each of its lives. `None` where the broker
/// does not say within `wait`: old ones and the one inside the process don't.
pub(super) fn topic_ids<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topics: &[&str],
    wait: Duration,
) -> Option<BTreeMap<String, String>> {
    let names: Vec<CString> = topics.iter().map(|topic| CString::new(*topic)).collect::<Result<_, _>>().ok()?;
    let mut names_of_c: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client, the names and the array outlive the calls; collection, queue and event are ours and destroyed
    // once each, after what was read from them was copied. Each pointer that may be null is looked at first.
    unsafe {
        let client = consumer.client().native_ptr();
        let topics = rd_kafka_TopicCollection_of_topic_names(names_of_c.as_mut_ptr(), names_of_c.len());
        let queue = rd_kafka_queue_new(client);
        rd_kafka_DescribeTopics(client, topics, ptr::null(), queue);
        rd_kafka_TopicCollection_destroy(topics);
        let event = rd_kafka_queue_poll(queue, wait);
        let mut ids = None;
        if !event.is_null() {
            let result = rd_kafka_event_DescribeTopics_result(event);
            if rd_kafka_event_error(event) == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !result.is_null() {
                let mut count = 0;
                let found = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
                let found = if found.is_null() { &[] } else { slice::from_raw_parts(found, count) };
                let mut known = BTreeMap::new();
                for topic in found {
                    let (name, id) =
                        (rd_kafka_TopicDescription_name(*topic), rd_kafka_TopicDescription_topic_id(*topic));
                    let id = if id.is_null() { ptr::null() } else { rd_kafka_Uuid_base64str(id) };
                    if !name.is_null() && !id.is_null() {
                        let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
                        known.insert(text(name), text(id));
                    }
                }
                known.retain(|_, id| id != NO_ID);
                ids = Some(known);
            }
            rd_kafka_event_destroy(event);
        }
        rd_kafka_queue_destroy(queue);
        ids
    }
}
