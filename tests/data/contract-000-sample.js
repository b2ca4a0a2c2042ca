// 生成签名
function generateSignature(params, secret) {
    const crypto = require('crypto');
    
    // 排序参数
    const sortedParams = Object.keys(params).sort().reduce((result, key) => {
        result[key] = params[key];
        return result;
    }, {});
    
    // 拼接字符串
    const queryString = Object.keys(sortedParams)
        .map(key => `${key}=${sortedParams[key]}`)
        .join('&');
    
    // 生成签名
    return crypto.createHmac('sha256', secret).update(queryString).digest('hex');
}

// 查询会话列表
async function getSessionList() {
    const params = {
        ext_staff_id: 'staff123',
        session_type: 'external',
        ext_corp_id: 'corp123',
        page: 1,
        page_size: 20
    };
    
    const secret = 'your_secret_key';
    const signature = generateSignature(params, secret);
    
    const url = new URL('/api/v1/chat-msg/sessions', 'http://localhost:9002');
    Object.keys(params).forEach(key => url.searchParams.append(key, params[key]));
    url.searchParams.append('signature', signature);
    
    const response = await fetch(url);
    const result = await response.json();
    
    console.log(result);
}
