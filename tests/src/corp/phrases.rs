//! What people write at work. Templates with slots, so that a million messages are not a few hundred sentences again and
//! again.

use rand::{Rng, seq::IndexedRandom};

/// Topics; a conversation stays with one for a while.
pub const TOPICS: [&[&str]; 10] =
    [SALES, LOGISTICS, SUPPORT, FINANCE, HR, FACTORY, MEETING, SMALLTALK, SERVICE, ENGLISH];

/// The topics of talk with people outside of the corp.
pub const OUTSIDE: [&[&str]; 6] = [SALES, LOGISTICS, FINANCE, SMALLTALK, SERVICE, ENGLISH];

const SALES: &[&str] = &[
    "您好，我是{firm}的{person}，想了解一下{product}的报价",
    "{product}现在有活动，满{n}台打{d}折，{when}之前下单都有效",
    "合同第{n}条的付款方式我们法务还有意见，能不能改成月结{n}天？",
    "这款{product}和上一代比，续航提升了百分之{n}，重量轻了{n}克",
    "报价单已经发您邮箱了，含税单价{money}元，交期{n}个工作日",
    "客户那边预算只有{money}元，看看能不能申请特价",
    "请问{product}有没有{color}的？我们{city}的门店想先订{n}件试试",
    "{when}去{city}拜访客户，方案先按第{n}版准备",
    "样品寄出了，单号{code}，收到后麻烦确认一下",
    "竞争对手报了{money}元，我们要不要跟？",
    "这是{product}的产品介绍，重点看第{n}页的参数对比",
    "老客户续约的话，服务费可以再优惠{n}个点",
];
const LOGISTICS: &[&str] = &[
    "单号{code}的货{when}到{city}，请安排{n}号仓收货",
    "{city}到{city}的专线停运了，改走{person}那边的车队",
    "仓库说少了{n}箱{product}，监控正在查",
    "司机{person}已经出发，车牌沪A{n}{n}8，预计{when}到",
    "这批{product}要冷链，温度不能超过{n}度",
    "清关还差一份原产地证明，{person}在补",
    "托盘数量对不上，系统里是{n}，实际只有{n}",
    "快递柜满了，麻烦改派到前台，取件码{code}",
    "退货的{product}已入库，外箱破损{n}个",
];
const SUPPORT: &[&str] = &[
    "服务器{code}磁盘只剩百分之{n}了，{when}之前要扩容",
    "登录报错 E{n}{n}4，清了缓存也没用，截图发你了",
    "已经重启了 {service}，现在恢复正常，原因还在查",
    "{service} 的 API 从{when}开始返回 502，影响{n}个客户",
    "VPN 连不上的同事请先把客户端升级到 {n}.{n}.2",
    "数据库备份{when}跑完，耗时{n}分钟，校验通过",
    "麻烦把 {service} 的日志级别调成 debug，我看一下 request id {code}",
    "工单{code}已经转给二线，{person}跟进",
    "这个 bug 在 v{n}.{n} 已经修复，请更新后再试",
    "打印机又卡纸了，{n}楼的，谁能来看一下 😭",
];
const FINANCE: &[&str] = &[
    "{when}的报销单还差{n}张发票，请补齐",
    "发票抬头是{firm}，税号稍后发您，金额{money}元",
    "这笔{money}元的款项已经到账，请核对流水号{code}",
    "预算调整申请{person}已经批了，多出来的{money}元放到下个季度",
    "应收账款超过{n}天的客户名单整理好了，一共{n}家",
    "月底关账，{when}以后提交的单据算下个月",
    "差旅标准改了，{city}住宿每晚不超过{money}元",
];
const HR: &[&str] = &[
    "{person}{when}入职，工位在{n}楼，请 IT 准备电脑",
    "面试改到{when}，候选人做过{n}年{product}",
    "年假还剩{n}天，年底之前记得休",
    "体检报告可以在系统里看了，有问题找{person}",
    "新员工培训{when}开始，一共{n}节课",
    "考勤异常{n}次，请在{when}之前补卡",
];
const FACTORY: &[&str] = &[
    "{n}号线{when}停机检修，预计{n}小时",
    "这批{product}的不良率是百分之{n}，超过标准，先不要发货",
    "模具{code}磨损严重，需要返修",
    "原材料涨价了，{product}的成本要多{money}元",
    "夜班产量{n}{n}0件，比计划多{n}件",
    "质检发现{color}的外壳有色差，照片在群文件里",
    "安全检查{when}进行，请各车间自查消防通道",
];
const MEETING: &[&str] = &[
    "{when}的例会改到{n}楼会议室，请{person}准备材料",
    "会议纪要见附件，待办{n}项，负责人已经标出",
    "方案评审通过，遗留问题{n}个，{person}负责跟踪",
    "请大家{when}之前把周报发到邮箱",
    "投影坏了，先用线上会议，会议号{code}",
    "@{person} 你那边的进度怎么样了？",
];
const SMALLTALK: &[&str] = &[
    "中午吃什么？楼下新开了一家{city}菜",
    "哈哈哈，笑死我了",
    "好的👌",
    "收到，谢谢！🙏",
    "辛苦了，早点休息",
    "今天{city}下雨，路上小心",
    "周末去爬山吗？{person}也去",
    "生日快乐🎂🎉，{person}！",
    "嗯嗯",
    "在吗？",
    "没问题，{when}见",
    "這個週末要不要一起去{city}看展覽？",
];
const SERVICE: &[&str] = &[
    "您好，有什么可以帮助您的吗？",
    "非常抱歉给您带来不便，我们已经为您登记，编号{code}",
    "请问您的{product}是什么时候购买的？方便提供一下订单号吗？",
    "师傅{when}上门，请保持电话畅通",
    "退款{money}元已原路退回，预计{n}个工作日到账",
    "我的{product}开不了机了，充了一晚上电也没反应",
    "你们的客服电话打了{n}次都没人接，太失望了",
    "谢谢，问题解决了，给个好评👍",
    "麻烦再发一遍使用说明，我{color}的那款找不到按钮",
    "保修期是{n}个月，您的还在保，可以免费换新",
];
const ENGLISH: &[&str] = &[
    "Hi {person}, could you please send me the updated quotation for {n} units?",
    "The shipment {code} is delayed at customs, new ETA is {when}.",
    "Please review PR #{n}{n} before {when}, it blocks the release.",
    "Thanks! Let's sync tomorrow at {n}:30.",
    "FYI: {service} will be down for maintenance, about {n} minutes.",
    "Naïve question: why does the café's Wi-Fi drop every {n} minutes?",
    "Our budget is USD {money}, is that OK?",
];

const PRODUCTS: &[&str] = &[
    "无线耳机",
    "智能门锁",
    "扫地机器人",
    "空气净化器",
    "工业相机",
    "伺服电机",
    "会议平板",
    "打印机",
    "路由器",
    "ERP系统",
    "云服务器",
    "冷藏柜",
    "电动叉车",
    "不锈钢阀门",
    "有机大米",
    "蓝牙音箱",
    "POS机",
    "血压计",
    "传感器模组",
    "办公椅",
];
const CITIES: &[&str] = &[
    "上海",
    "北京",
    "深圳",
    "广州",
    "杭州",
    "成都",
    "武汉",
    "西安",
    "重庆",
    "苏州",
    "南京",
    "青岛",
    "厦门",
    "长沙",
    "昆明",
    "哈尔滨",
    "乌鲁木齐",
    "台北",
    "香港",
    "新加坡",
];
const WHEN: &[&str] = &[
    "明天上午",
    "下周三",
    "今天下班前",
    "本月底",
    "周五下午三点",
    "后天",
    "下个季度",
    "十分钟后",
    "节后第一天",
    "晚上八点",
    "国庆以后",
    "一季度末",
];
const COLORS: &[&str] = &["黑色", "白色", "银灰色", "天蓝色", "玫瑰金", "军绿色"];
const SERVICES: &[&str] =
    &["order-service", "网关", "Redis", "支付中心", "CRM", "消息队列", "SSO", "报表系统", "nginx"];
const FIRMS: &[&str] =
    &["晨光贸易", "蓝海物流", "安泰机械", "绿野食品", "长江电子", "云帆科技", "宏图建材", "Northwind"];
const PEOPLE: &[&str] = &[
    "王芳",
    "李建国",
    "张晓东",
    "刘思远",
    "陈雨桐",
    "杨浩然",
    "赵静",
    "欧阳娜",
    "司马超",
    "周文博",
    "Kevin",
    "Linda",
    "小陈",
    "老吴",
    "马师傅",
];

/// A sentence of this topic.
pub fn sentence(topic: &[&str], rng: &mut impl Rng) -> String {
    let template = topic.choose(rng).expect("topics have templates");
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = *template;
    while let Some((before, slot)) = rest.split_once('{') {
        let (name, after) = slot.split_once('}').expect("slots are closed");
        text.push_str(before);
        fill(name, &mut text, rng);
        rest = after;
    }
    text.push_str(rest);
    text
}

fn fill(slot: &str, text: &mut String, rng: &mut impl Rng) {
    let words = match slot {
        "product" => PRODUCTS,
        "city" => CITIES,
        "when" => WHEN,
        "color" => COLORS,
        "service" => SERVICES,
        "firm" => FIRMS,
        "person" => PEOPLE,
        "n" => return text.push_str(&rng.random_range(2..99).to_string()),
        "d" => return text.push_str(["九", "八五", "八", "七五"].choose(rng).expect("discounts")),
        "money" => return text.push_str(&format!("{}{:02}", rng.random_range(3..900), rng.random_range(0..100))),
        "code" => return text.push_str(&format!("SF{:010}", rng.random_range(0..10_000_000_000u64))),
        other => unreachable!("no slot {other}"),
    };
    text.push_str(words.choose(rng).expect("slots have words"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn sentences_are_complete_and_varied() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut seen = std::collections::HashSet::new();
        for round in 0..4000 {
            let text = sentence(TOPICS[round % TOPICS.len()], &mut rng);
            assert!(!text.is_empty() && !text.contains(['{', '}']), "{text}");
            seen.insert(text);
        }
        assert!(seen.len() > 3000, "{} different sentences", seen.len());
    }
}
