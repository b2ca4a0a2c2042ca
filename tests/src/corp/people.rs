//! Who works at a generated corp and whom they talk to.

use super::{CorpSpec, DAY_MS};
use rand::{Rng, distr::Alphanumeric, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

const SURNAMES: [&str; 40] = [
    "王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周", "徐", "孙", "马", "朱", "胡", "林", "郭", "何", "高",
    "罗", "郑", "梁", "谢", "宋", "唐", "许", "邓", "冯", "韩", "曹", "曾", "彭", "萧", "蔡", "潘", "田", "董", "欧阳",
    "司马", "上官",
];
const GIVEN: [&str; 48] = [
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超", "秀兰", "霞",
    "平", "建国", "志强", "晓东", "思远", "雨桐", "子涵", "梓萱", "浩然", "宇轩", "佳怡", "欣怡", "嘉豪", "雪梅",
    "桂英", "文博", "梦琪", "一诺", "若曦", "俊杰", "海燕", "春华", "立新", "国庆", "玉珍", "婷婷", "小龙", "晨曦",
    "琳琅",
];
const PINYIN: [&str; 24] = [
    "wang", "li", "zhang", "liu", "chen", "yang", "huang", "zhao", "wu", "zhou", "xu", "sun", "ma", "zhu", "hu", "lin",
    "guo", "he", "gao", "luo", "zheng", "liang", "xie", "song",
];
const DEPARTMENTS: [&str; 6] = ["星河软件", "销售部", "客户服务部", "物流部", "信息技术部", "财务部"];
const COMPANIES: [&str; 10] = [
    "晨光贸易有限公司",
    "蓝海物流",
    "Northwind Traders",
    "安泰机械厂",
    "绿野食品",
    "长江电子",
    "云帆科技",
    "宏图建材",
    "Contoso Ltd.",
    "百合医疗器械",
];
const GROUP_TOPICS: [&str; 12] = [
    "项目对接群",
    "售后服务群",
    "新品发布准备",
    "仓库调度",
    "双十一备战",
    "技术支持 Support",
    "财务报销",
    "华东区客户群",
    "早会",
    "质量改进小组",
    "招标文件准备",
    "周末羽毛球",
];

/// A member of the corp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// userid.
    pub id: String,
    pub name: String,
    /// Empty when WeCom does not tell, which is common (reference/wecom-archive.md §4.2).
    pub avatar: String,
    pub alias: String,
    pub position: String,
    pub department: u32,
}

/// Somebody outside of the corp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// external_userid.
    pub id: String,
    pub name: String,
    pub avatar: String,
    /// 1 WeChat, 2 WeCom.
    pub kind: u8,
    /// Empty for users of WeChat.
    pub corp_name: String,
    /// userids of the members who have this contact.
    pub follow: Vec<String>,
}

/// A group chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// roomid.
    pub id: String,
    /// Empty when nobody named it.
    pub name: String,
    pub owner: String,
    /// userids and external_userids.
    pub members: Vec<String>,
    /// Whether somebody in it is not of the corp.
    pub external: bool,
    pub notice: String,
    /// Unix seconds.
    pub created: i64,
}

/// A program that writes in groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Robot {
    pub id: String,
    pub name: String,
    pub creator: String,
}

/// A department.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Department {
    pub id: u32,
    pub name: String,
    pub parent: u32,
}

/// What WeCom's directory APIs know of a corp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    pub corp: String,
    pub archive_secret: String,
    pub app_secret: String,
    pub departments: Vec<Department>,
    pub staff: Vec<Member>,
    pub customers: Vec<Customer>,
    pub groups: Vec<Group>,
    pub robots: Vec<Robot>,
}

impl Directory {
    /// The people of this corp.
    pub(super) fn generate(spec: &CorpSpec, rng: &mut StdRng) -> Self {
        let departments = (1u32..).zip(DEPARTMENTS);
        let departments: Vec<_> =
            departments.map(|(id, name)| Department { id, name: name.into(), parent: u32::from(id > 1) }).collect();
        let mut staff = vec![member("staff123", "客服小王", "客服专员", 3)];
        for number in 0..spec.staff {
            let userid = format!("{}{}", PINYIN.choose(rng).expect("names"), number + 1);
            let name = person_name(rng);
            let mut member = member(&userid, &name, "", rng.random_range(2..=6));
            if number % 5 == 4 {
                member.avatar.clear();
            }
            staff.push(member);
        }
        let mut customers = vec![Customer {
            id: "customer456".into(),
            name: "张三".into(),
            avatar: avatar("customer456"),
            kind: 1,
            corp_name: String::new(),
            follow: vec!["staff123".into()],
        }];
        for number in 0..spec.customers {
            let wecom = number % 4 == 3;
            let id = native_id(if wecom { "wo" } else { "wm" }, rng);
            let mut follow: Vec<_> = staff[1..].choose_multiple(rng, 2).map(|member| member.id.clone()).collect();
            if number.is_multiple_of(4) {
                follow[0] = "staff123".into();
            }
            let corp_name = if wecom { COMPANIES.choose(rng).expect("companies").to_string() } else { String::new() };
            let (name, avatar) = (person_name(rng), avatar(&id));
            customers.push(Customer { id, name, avatar, kind: if wecom { 2 } else { 1 }, corp_name, follow });
        }
        let groups = (0..spec.groups).map(|number| group(spec, number, &staff, &customers, rng)).collect();
        let robots = ["告警机器人", "Build Bot"].into_iter().map(|name| Robot {
            id: native_id("wb", rng),
            name: name.into(),
            creator: staff[staff.len() - 1].id.clone(),
        });
        Self {
            corp: spec.id.clone(),
            archive_secret: spec.archive_secret.clone(),
            app_secret: spec.app_secret.clone(),
            departments,
            robots: robots.collect(),
            staff,
            customers,
            groups,
        }
    }

    /// Whether this id is of somebody outside of the corp.
    pub fn is_external(&self, id: &str) -> bool {
        self.customers.iter().any(|customer| customer.id == id)
    }

    /// The name of anybody.
    pub fn name_of(&self, id: &str) -> Option<&str> {
        let staff = self.staff.iter().map(|member| (&member.id, &member.name));
        let customers = self.customers.iter().map(|customer| (&customer.id, &customer.name));
        let robots = self.robots.iter().map(|robot| (&robot.id, &robot.name));
        staff.chain(customers).chain(robots).find(|(known, _)| *known == id).map(|(_, name)| name.as_str())
    }
}

fn member(id: &str, name: &str, position: &str, department: u32) -> Member {
    let (position, alias) = (position.to_owned(), String::new());
    Member { id: id.into(), name: name.into(), avatar: avatar(id), alias, position, department }
}

fn avatar(id: &str) -> String {
    format!("https://example.com/avatars/{id}.jpg")
}

fn person_name(rng: &mut StdRng) -> String {
    format!("{}{}", SURNAMES.choose(rng).expect("surnames"), GIVEN.choose(rng).expect("names"))
}

/// As long as WeCom's own ids, with the zeros many of them end in.
fn native_id(prefix: &str, rng: &mut StdRng) -> String {
    let tail: String = rng.sample_iter(Alphanumeric).take(20).map(char::from).collect();
    format!("{prefix}{tail}AAAAAAAAAA")
}

fn group(spec: &CorpSpec, number: usize, staff: &[Member], customers: &[Customer], rng: &mut StdRng) -> Group {
    let external = number.is_multiple_of(2);
    let mut members: Vec<String> = Vec::new();
    if number < 4 {
        members.push("staff123".into());
    }
    let size = rng.random_range(3..9);
    members.extend(staff[1..].choose_multiple(rng, size).map(|member| member.id.clone()));
    if external {
        members.extend(customers.choose_multiple(rng, 3).map(|customer| customer.id.clone()));
    }
    // Every sixth group has no name, as many in WeCom.
    let name = if number % 6 == 5 {
        String::new()
    } else if number < GROUP_TOPICS.len() {
        GROUP_TOPICS[number].to_owned()
    } else {
        format!("{}{number}", GROUP_TOPICS[number % GROUP_TOPICS.len()])
    };
    let notice = if number.is_multiple_of(3) { "请修改群名片为姓名+部门".to_owned() } else { String::new() };
    let created = (spec.start_ms - 30 * DAY_MS) / 1000 + number as i64;
    Group { id: native_id("wr", rng), name, owner: members[0].clone(), members, external, notice, created }
}
